"""Files of HDF5 that others wrote: looked through by a process of their own before this one reads them."""
