module github.com/z-open/socketauth

go 1.26.0
