"""Files and folders made whole or not at all."""
