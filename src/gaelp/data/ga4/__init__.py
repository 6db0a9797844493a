"""Google Analytics 4: its BigQuery export and its Data API, told to the journey database.

`reading` opens files, `columns` makes one flat table of nested or flattened ones, `cells` refuses what cannot
be read, `channels` groups sources, `sessions` turns events into touches and purchases, `importing` does all
of it, `data_api` asks Google.
"""
