"""What images may be, and how much is read of files that others made: looked at in their headers,
before anything is decoded."""

SMALLEST, LARGEST, STEP = 16, 64, 4  # pixels a side
MOST_CLASSES = 1000

MOST_IMAGE_BYTES, MOST_PIXELS = 40_000_000, 60_000_000  # of a photo, which is made smaller
MOST_UPLOAD_BYTES = 8_000_000  # that a page of the explorer sends
MOST_SCANS = 100  # of a JPEG; programs write ten
MOST_LISTED_BYTES, MOST_MEMBERS = 50_000_000, 500_000  # of an archive of images
MOST_UNPACKED = 100  # times the size of an archive
MOST_ARRAY_BYTES = 200_000_000  # in memory at once
MOST_HEADER_BYTES = 70_000  # of an array
MOST_TEXT_BYTES = 4_000_000  # labels, a line each
