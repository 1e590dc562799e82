#!/bin/sh
# Metrics of this host: hosts/autobot_metrics of the deployment's checkout.
exec /usr/local/lib/autobot-metrics/autobot-metrics.pyz "$@"
