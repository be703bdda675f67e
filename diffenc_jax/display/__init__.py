"""Forms of output that terminal, page and files share: tables, documents, colours, progress, number formats."""
