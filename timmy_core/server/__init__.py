"""Pages, API and live feed behind one login: `app` builds the ASGI app, `run` serves it."""
