"""The harness behind the two doors: builds the lab's programs, runs them, checks them."""
