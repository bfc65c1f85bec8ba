#!/bin/bash
# Tables as spreadsheets write them: a column `split`, trailing spaces, cp1252, UTF-16, a NUL, .CSV
. "$(dirname "$0")/environment.sh"
make_images p cat:8 dog:8
rows() {
  for class in cat dog; do
    for number in 0 1 2 3 4 5 6 7; do echo "p/$class/00$number.png,$class$1"; done
  done
}
{ echo path,label,split; rows ,train | sed '1~4s/train/test/'; } >split.csv
echo "a column split, with $(grep -c test split.csv) rows of test:"
train_briefly split.csv | head -1
{ echo path,label; rows | sed '1~2s/$/ /'; } >space.csv
echo "trailing spaces:"
train_briefly space.csv | head -1
{ echo path,label; rows é; } | iconv -t cp1252 >cp1252.csv
echo "cp1252:"
train_briefly cp1252.csv | grep -m1 '^error: \|classes; '
{ echo path,label; rows; } | iconv -t utf-16 >utf16.csv
echo "UTF-16:"
train_briefly utf16.csv | grep -m1 '^error: \|classes; '
{ echo path,label; rows; printf 'p/\0.png,cat\n'; } >nul.csv
echo "a NUL in a path:"
train_briefly nul.csv | grep -m1 '^error: \|classes; '
{ echo path,label; rows; } >LABELS.CSV
echo "LABELS.CSV:"
train_briefly LABELS.CSV | grep -m1 '^error: \|classes; '
