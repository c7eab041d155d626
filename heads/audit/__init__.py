"""What a data set gives away before any head is fitted: facts that tell classes alone, and labels that look wrong."""
