-- Asset folders, thumbnails, retention.

SELECT 1;
