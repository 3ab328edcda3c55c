"""What vendors say of a run, in Slipway's words: total over what they document, and Temporary for what they do not."""
