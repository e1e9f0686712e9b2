"""A static page that runs an exported model in the browser, without a server."""

from hf_ser.web.static_page import describe_page, write_page
from hf_ser.web.web_error import WebError

__all__ = [
    "WebError",
    "describe_page",
    "write_page",
]
