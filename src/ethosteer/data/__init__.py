"""Published data as studies use it: files, their readers, splits, pairs, prompts, conversations."""
