# Every habit is one word. See `make help`.
