"""The catalogue: static pages about everything that a registry has published.

They are read from a folder (file://) or from any static host, without a server and offline: a page loads its data as
scripts (`data/*.js`), because a browser reads no other files from a folder. Everything in it is from the registry's
index and logs, which are untrusted text, and from files about models that are given to it.
"""
