"""All tests, and what they share: one package, whose root is the checkout."""
