"""Networks: architectures, and the zoo of trained ones."""
