"""The admission process: a thin aiohttp shell around pure admit functions."""
