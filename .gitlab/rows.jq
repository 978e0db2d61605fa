# Rows as `./build.py list --json` gives them -> a child pipeline with a job for each.
{include: [{local: ".gitlab/row.yml"}]}
+ (map({key: "build \(.row)", value: {extends: ".build", variables: {ROW: .row}}}) | from_entries)
