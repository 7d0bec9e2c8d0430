"""Tables, figures, maps and the HTML page, made from what a study has written."""
