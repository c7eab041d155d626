"""An example without network: pictures drawn by code, untrained encoders, and the whole story on top of them."""
