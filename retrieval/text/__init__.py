"""Texts to what is stored and searched; creation; documents encoded later."""
