"""Where tensors come from: images, texts, vocabularies, the Hub."""
