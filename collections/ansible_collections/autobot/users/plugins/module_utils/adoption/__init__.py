"""The move of AutoBot's database of users: both servers are asked, and changed, step by step."""
