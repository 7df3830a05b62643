"""Where work runs: `base` says what a job is, `manifest` what is done, `local` does the rest."""
