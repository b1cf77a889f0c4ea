def rows(quick):
    return iter(())
