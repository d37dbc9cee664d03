"""`counterpoint annotate`, its report and its contact sheets."""
