"""What every route needs: admission, answers, bodies, headers, metrics and connections."""
