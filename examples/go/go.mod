module genfuse.example/sample

go 1.19
