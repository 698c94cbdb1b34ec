"""Images by their URLs: lists are judged by their columns, and what survives is downloaded, safely and politely."""
