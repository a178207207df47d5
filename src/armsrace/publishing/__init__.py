"""The course as a web site: notebooks executed once, measurements collected, pages built."""

import sys

# Where it is installed, jsonschema builds a grammar of internationalized addresses from it as soon
# as nbformat is imported: two seconds a notebook for a format that no notebook holds.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
