"""The web application of `serve`: uploads, a queue, guarded reading, answers as JSON, and a page for people.

`service` does the work, `api` and `site` are its routes, `application` puts them together; nothing here trusts an
upload: `uploads` bounds what is received, and `reader` has it decoded in a worker process.
"""
