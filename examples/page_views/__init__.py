"""Page views: JSON messages of the topic page-views become rows of the table page_views. docs/guide.md explains it."""
