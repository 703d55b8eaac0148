"""Pictures of pictures: contact sheets, pages that need nothing else, drawn scenes."""
