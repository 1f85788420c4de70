"""Files from elsewhere that runs put on phones: fetched once per host, bounded, checked."""
