"""Which of many classes a picture, a table or a measurement takes."""


def spread_classes(class_count: int, most: int = 20) -> list[int]:
    """Classes to be shown or measured: all, or `most` of them at equal steps."""
    shown = min(class_count, most)
    return [i * class_count // shown for i in range(shown)]


def classes_in_words(shown: int, class_count: int) -> str:
    """How many classes there are, and how many of them are shown where it is not all."""
    return f"{shown} of {class_count} classes" if shown < class_count else f"{class_count} classes"
