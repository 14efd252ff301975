"""What the pages share: colours, the frame, small parts, charts and the two live widgets."""
