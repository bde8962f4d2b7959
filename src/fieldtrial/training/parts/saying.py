"""How messages call what an own part gave."""


def of_kind(found: object) -> str:
    """Return the type of `found` with its article, and its shape if it has one: 'an int'."""
    if found is None:
        return "None"
    name = type(found).__name__
    shape = getattr(found, "shape", None)
    text = f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    return text if shape is None else f"{text} of shape {tuple(shape)}"
