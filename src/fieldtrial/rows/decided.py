"""Fields that rows share with their source, and fields that a sweep decides by itself."""

# Fields that a source and the rows that start from its weights share, so that these fit.
ARCHITECTURE = (
    "image_size", "model", "blocks", "convolutions", "filters", "filter_growth", "kernel_size",
    "padding", "activation", "batch_norm", "batch_norm_after", "dense_width",
)  # fmt: skip
# Fields that neither rows nor search can set, because an argument of the sweep does.
OWN_FIELDS = {
    "task": "`base` says it for all rows",
    "seed": "`seeds` says how many a winner is run with",
    "folds": "the sweep's `folds` says it for all rows",
    "fold": "a winner is tested on each of the sweep's `folds`",
    "options": "each option is a field, such as model.width",
    "select": 'the sweep\'s `select` says it for all rows; or `base` has select="last"',
}
