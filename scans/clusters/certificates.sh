#!/bin/sh
# Make what a Dask cluster needs so that nobody else can reach it: an authority, and one certificate for scheduler,
# workers and you. Whoever has the two .key files can run code as you: keep them in a folder that only you can read.
#
#   sh certificates.sh FOLDER
set -eu
umask 077
folder=${1:?"sh certificates.sh FOLDER"}
mkdir -p "$folder"
cd "$folder"
openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=qifscan authority" -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=qifscan" -keyout own.key -out own.csr 2>/dev/null
openssl x509 -req -days 365 -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem 2>/dev/null
rm own.csr
echo "$PWD/ca.pem $PWD/own.pem $PWD/own.key"
