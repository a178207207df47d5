"""The course as a web site: notebooks executed once, measurements collected, pages built."""
