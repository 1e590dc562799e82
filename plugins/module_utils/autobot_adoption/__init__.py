"""The move of AutoBot's database of users: what is asked of both servers, and what is done to them."""
