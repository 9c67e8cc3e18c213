# cmake -DIN=FILE -DOUT=FILE.c -DSYMBOL=name -P embed.cmake: a file as a C array.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "extern const unsigned char ${SYMBOL}[];\nextern const unsigned long ${SYMBOL}_len;\n"
  "const unsigned char ${SYMBOL}[] = {${bytes}};\nconst unsigned long ${SYMBOL}_len = sizeof ${SYMBOL};\n")
