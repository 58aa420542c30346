"""What `make proto` made of `proto/`; nothing here is written by hand."""
