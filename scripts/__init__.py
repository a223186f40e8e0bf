"""What the Makefile and the build run; nothing that the product itself imports."""
