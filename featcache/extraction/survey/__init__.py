"""What a data set holds: every picture and caption is hashed, or known from an earlier look."""
