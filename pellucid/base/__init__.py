"""What everything else stands on: configuration, errors, taps, files, progress. No torch at import."""
