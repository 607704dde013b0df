"""Images from web addresses that stand in manifests: off unless ATELIER_ALLOW_URLS is set.

`address` reads an address, `public` says which IP addresses may be connected to, `network` looks
names up, checks and connects, `fetcher` gets one image, `ahead` gets several at a time.
"""
