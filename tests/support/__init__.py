"""What tests share: the services they run against, data of their own in these, and running programs."""
