"""Routes. A route translates HTTP; the services hold the rules."""
