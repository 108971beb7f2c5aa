"""What `rfr` can do, one file for each kind of person: whoever runs the house, sends images, decides, looks on."""
